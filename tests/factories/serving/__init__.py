"""What tests of serving share: `tiny_models` (folders of models that are made in a moment)."""
