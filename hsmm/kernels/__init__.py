"""Exact recursions over :class:`hsmm.potentials.Potentials`, one back end a module.

Every back end is a :class:`~hsmm.kernels.protocol.Kernel`. ``reference`` defines what is correct.
"""
