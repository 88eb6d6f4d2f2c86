"""What a recipe takes on so many machines: counted, measured where that is possible, and predicted (`model.py`)."""
