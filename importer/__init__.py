"""ymlf: replay finished Ultralytics YOLO trainings into MLflow."""

__version__ = "0.1.0"
