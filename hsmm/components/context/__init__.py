"""Encoders of the context by name: each module of this package is looked through for them."""

from hsmm.components.context.attention import Attention as Attention
from hsmm.components.context.base import ENCODERS as ENCODERS
from hsmm.components.context.base import Encoder as Encoder
from hsmm.components.context.base import Weights as Weights
from hsmm.components.context.base import by_blocks as by_blocks
from hsmm.components.context.convolution import CNN as CNN
from hsmm.components.context.convolution import CNNLSTM as CNNLSTM
from hsmm.components.context.recurrent import GRU as GRU
from hsmm.components.context.recurrent import LSTM as LSTM
from hsmm.components.context.rowwise import MLP as MLP
from hsmm.components.context.rowwise import Embedding as Embedding
from hsmm.components.context.rowwise import Linear as Linear
from hsmm.components.register import import_beside

import_beside(__name__, __path__)
