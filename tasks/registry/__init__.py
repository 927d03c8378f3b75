"""Where models are registered: the only folder that imports mlflow."""
