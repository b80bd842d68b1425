"""The addresses of pages in MLflow's UI."""

from __future__ import annotations

from urllib.parse import quote

LOCAL_UI = "http://127.0.0.1:5000"  # where `mlflow ui` listens
TRAINING = "workflowType=machine_learning"  # without it MLflow 3.17 opens pages for GenAI, which show no trainings


def run_page(ui: str, experiment_id: str, run_id: str) -> str:
    """Return the address of a run."""
    return f"{ui.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}?{TRAINING}"


def runs_page(ui: str, experiment_id: str, *, task: str | None = None, ranked_by: str | None = None) -> str:
    """Return the address of the runs of an experiment: all, or those of a task with the highest of a metric first."""
    query = [TRAINING]
    if task is not None:
        query.append("searchFilter=" + quote(f"tags.`ymlf.task` = '{task}'", safe=""))
    if ranked_by is not None:
        query += ["orderByKey=" + quote(f"metrics.`{ranked_by}`", safe=""), "orderByAsc=false"]
    return f"{ui.rstrip('/')}/#/experiments/{experiment_id}/runs?{'&'.join(query)}"
