"""Search for a better Recipe on Ray Tune: spaces over its fields, search algorithms, schedulers, the study's report.

It runs any function from a recipe to metrics that it is given, and knows neither MLflow nor the command line.
"""
