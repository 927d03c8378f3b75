from tests.hsmm.inference.test_streaming import *  # noqa: F403
