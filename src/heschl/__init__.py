"""heschl: a workbench for interpretable speech networks."""
