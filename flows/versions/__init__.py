"""Algorithm versions compared: what runs and activations judge a candidate by."""
