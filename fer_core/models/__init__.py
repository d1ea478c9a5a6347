"""The zoo: `create_model(name)` gives a net that takes grey faces in 0..1 and returns logits."""

from fer_core.models.classifier import FaceClassifier
from fer_core.models.cost import ModelCost, model_cost
from fer_core.models.zoo import MODELS, create_model, parameter_count, register

__all__ = ["MODELS", "FaceClassifier", "ModelCost", "create_model", "model_cost", "parameter_count", "register"]
