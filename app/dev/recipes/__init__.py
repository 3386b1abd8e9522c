"""Recipes: configurations of `generic` for sources that others run, with the fixtures that prove them."""
