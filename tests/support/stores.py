"""What a store holds, asked through MLflow's own client."""

from __future__ import annotations

from dataclasses import replace

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from importer.record import ImportRecord


def runs_in(uri: str) -> list[Run]:
    """Every run, deleted ones too."""
    client = MlflowClient(uri)
    ids = [found.experiment_id for found in client.search_experiments(view_type=ViewType.ALL)]
    return list(client.search_runs(ids, run_view_type=ViewType.ALL))


def experiments_in(uri: str) -> list[str]:
    """The names of the experiments, deleted ones too, less MLflow's own `Default`."""
    found = MlflowClient(uri).search_experiments(view_type=ViewType.ALL)
    return sorted(experiment.name for experiment in found if experiment.name != "Default")


def untouched(uri: str) -> bool:
    """Whether there is no run and no experiment but MLflow's own."""
    return not runs_in(uri) and not experiments_in(uri)


def record_of(run: Run) -> ImportRecord:
    """The record of a run that ymlf wrote."""
    record = ImportRecord.from_tag(run.data.tags["ymlf.record"])
    assert record is not None
    return record


def rewrite_record(uri: str, run: Run, **changes: object) -> None:
    """Change the record of a run, as another importer would have written it."""
    record = replace(record_of(run), **changes)  # type: ignore[arg-type]
    MlflowClient(uri).set_tag(run.info.run_id, "ymlf.record", record.to_tag())


def points_of(uri: str, run: Run, key: str) -> list[tuple[int, float]]:
    """(step, value) of a metric, by step."""
    return sorted((point.step, point.value) for point in MlflowClient(uri).get_metric_history(run.info.run_id, key))
