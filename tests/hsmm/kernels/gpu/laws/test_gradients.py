from tests.hsmm.inference.test_gradients import *  # noqa: F403
