"""Save and load: safetensors for numbers, JSON for words; nothing that is read is ever executed."""

from hsmm.io.many import ManyModels, Stored, save_many
from hsmm.io.model import digest, load_model, save_model
from hsmm.io.state import load_states, save_states

__all__ = ["ManyModels", "Stored", "digest", "load_model", "load_states", "save_many", "save_model", "save_states"]
