"""What a trained model says about images: predicted, explained, and exported; reads runs, never trains."""
