"""Imported first by the process that workers are made from."""

from importer.store.own_process import begin_own_process

begin_own_process()
