"""The Dagster side: component classes, and a module that builds the assets of each stage.

Assets say what is made from what; the work is in packages that know nothing of Dagster. This module
has a component class for every task, such as `qa_assets.components.QuestionAnswering`.
"""

from qa_assets.components.component import component_type
from qa_assets.core.task import task_names, task_type

globals().update(
    {task_type(name).__name__: component_type(task_type(name), __name__) for name in task_names()}
)
