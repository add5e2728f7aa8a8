"""Gates without a test: the models of the configuration, and what is asked of each of them.

`tables` reads what users write, `schema` describes it for editors, `references` loads the data that
it names, `gates` plans the checks and runs them.
"""
