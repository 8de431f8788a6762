"""The search for hyperparameters on Ray."""
