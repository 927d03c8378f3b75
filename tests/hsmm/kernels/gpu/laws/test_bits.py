from tests.hsmm.inference.test_bits import *  # noqa: F403
