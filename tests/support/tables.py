"""Every row that a database holds, for comparing what two writers left."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import sqlalchemy


class Tables:
    """The tables of a database, read and emptied behind MLflow's back."""

    def __init__(self, uri: str) -> None:
        self.engine = sqlalchemy.create_engine(uri)

    @cached_property
    def metadata(self) -> sqlalchemy.MetaData:
        """The tables as the database describes them."""
        metadata = sqlalchemy.MetaData()
        metadata.reflect(self.engine)
        return metadata

    def rows(self, names: Mapping[str, str]) -> dict[str, list[str]]:
        """The rows of each table in order, as text; each of `names`, such as a run's id, as what it maps to."""
        rows: dict[str, list[str]] = {}
        with self.engine.connect() as connection:
            for table in self.metadata.sorted_tables:
                texts = [repr(sorted(row.items())) for row in connection.execute(table.select()).mappings()]
                for name, shown in names.items():
                    texts = [text.replace(name, shown) for text in texts]
                rows[table.name] = sorted(texts)
        return rows

    def values(self, column: str) -> list[str]:
        """The values of a column, such as datasets.dataset_uuid."""
        table, _, name = column.partition(".")
        with self.engine.connect() as connection:
            return [str(row[0]) for row in connection.execute(sqlalchemy.text(f"SELECT {name} FROM {table}"))]

    def delete_rows(self, *tables: str) -> None:
        """Delete all rows of some tables, in the order given."""
        with self.engine.begin() as connection:
            for table in tables:
                connection.execute(sqlalchemy.text(f"DELETE FROM {table}"))
