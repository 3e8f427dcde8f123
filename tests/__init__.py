"""A package, so that it is found before the `tests` that the client sliderule installs."""
