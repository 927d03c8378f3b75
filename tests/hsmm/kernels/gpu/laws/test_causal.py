from tests.hsmm.inference.test_causal import *  # noqa: F403
