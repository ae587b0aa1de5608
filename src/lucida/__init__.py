"""lucida: a workbench and lab for vision-language models.

Who may import whom (left may import right, never back; ``|`` joins folders that do not import each other)::

    cli -> arguments -> workflows -> lab -> evaluation -> inference | training | clustering -> models
        -> data | losses
        -> report -> core | algorithms | usage

``docs/architecture.md`` shows the house; import-linter enforces the layers in CI.
"""

__version__ = "0.1.0"
