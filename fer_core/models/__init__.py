"""The zoo: `create_model(name)` gives a net that takes grey faces in 0..1 and returns logits."""

from fer_core.models.zoo import MODELS, FaceClassifier, create_model, parameter_count

__all__ = ["MODELS", "FaceClassifier", "create_model", "parameter_count"]
