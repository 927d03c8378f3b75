from tests.hsmm.inference.test_enumeration import *  # noqa: F403
