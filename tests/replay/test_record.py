"""The record of a run: what to_tag writes, from_tag reads."""

from __future__ import annotations

import dataclasses

from importer.record import Evidence, ImportRecord, RecordedTimes

EVIDENCE = Evidence(
    is_tune=True, rows=3, finished=True, event_files=("events.out.tfevents.1",), times=(1.5, 2.5), first="a1", block=2,
    time_marks=b"\1\2", row_marks=b"\3\4", records=(b"1234", b"5678"), args=b"\5\6", files=7,
)  # fmt: skip
TIMES = RecordedTimes("checkpoint-date", ((0, 10), (2, 20)), 5, 30, final_ms=25, zone="UTC+0100", spacing_ms=0.5,
                      shifted_ms=-3)  # fmt: skip
RECORD = ImportRecord(
    times=TIMES, evidence=EVIDENCE, fingerprint="f", epochs=3, run_name="train", group="farm/detect",
    options={"timezone": "UTC"}, notes=("crlf",), params_kept=("lr0",), generator="Ultralytics 8.3.0", best_epoch=1,
    best_by="mAP50-95", results_from="results.csv", params_from=("args.yaml",), final_from="multitrain_results.json",
    git={"branch": "main"}, importer="ymlf 0.1", writer="host:1:2", imported_at="2026-01-31T12:00:00+00:00",
    replaces="a" * 32, state="training",
)  # fmt: skip


def test_each_fact_of_a_record_is_read_as_it_was_written() -> None:
    for facts in (RECORD, TIMES, EVIDENCE):
        unset = [
            field.name
            for field in dataclasses.fields(facts)
            if field.default is not dataclasses.MISSING and getattr(facts, field.name) == field.default
        ]
        assert unset == []  # else it would be equal whether it was read or not
    assert ImportRecord.from_tag(RECORD.to_tag()) == RECORD
