"""Explanation: which parts of a clip a network relied on. Every method is `method(model, x, target, **options)`."""
