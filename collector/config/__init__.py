"""From YAML to one frozen, typed `Config`, or to everything that is wrong with it at once.

The steps from YAML to running code, of which the first three are here and the others in `service`:

1. `sources` merges files, `--set` and the like into one tree; `substitution` puts in what `${env:NAME}` stands for.
2. `components` finds what a section's id means, `validation` makes a model of the section.
3. `pipelines` checks the references between components, and puts the pipelines together.
4. `service.stages` builds what the processors of a pipeline come to.
5. `service.pipeline` builds and starts a pipeline, from its exporters back to its head, and the receivers last.
6. `service.run` does so for all of them, and stops them at a signal.

`loading` does the first three in their order.
"""
