"""Emission families by name: each module of this package is looked through for them."""

from hsmm.components.emission.additive import Additive as Additive
from hsmm.components.emission.autoregressive import AutoregressiveGaussian as AutoregressiveGaussian
from hsmm.components.emission.base import EMISSIONS as EMISSIONS
from hsmm.components.emission.base import Emission as Emission
from hsmm.components.emission.bernoulli import Bernoulli as Bernoulli
from hsmm.components.emission.categorical import Categorical as Categorical
from hsmm.components.emission.contextual import Contextual as Contextual
from hsmm.components.emission.elliptical import Gaussian as Gaussian
from hsmm.components.emission.elliptical import StudentT as StudentT
from hsmm.components.emission.exponential import Exponential as Exponential
from hsmm.components.emission.gamma import Gamma as Gamma
from hsmm.components.emission.glm import GLM as GLM
from hsmm.components.emission.mixture import Mixture as Mixture
from hsmm.components.emission.multinomial import Multinomial as Multinomial
from hsmm.components.emission.negative_binomial import NegativeBinomial as NegativeBinomial
from hsmm.components.emission.neural import Neural as Neural
from hsmm.components.emission.poisson import Poisson as Poisson
from hsmm.components.emission.product import Product as Product
from hsmm.components.emission.von_mises import VonMises as VonMises
from hsmm.components.emission.zero_inflated import ZeroInflatedGamma as ZeroInflatedGamma
from hsmm.components.emission.zero_inflated import ZeroInflatedPoisson as ZeroInflatedPoisson
from hsmm.components.register import import_beside

import_beside(__name__, __path__)
