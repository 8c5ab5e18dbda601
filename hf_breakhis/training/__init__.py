"""From images and a recipe to trained folds."""
