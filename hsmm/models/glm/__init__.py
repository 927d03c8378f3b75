"""What :class:`hsmm.GLMHMM` is made of: trials, starts, options."""
