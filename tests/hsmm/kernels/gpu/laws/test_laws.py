from tests.hsmm.inference.test_laws import *  # noqa: F403
