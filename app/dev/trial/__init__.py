"""`rescind try`: an account and an endpoint in a file, tried without a server, a network or a database.

`read_source` reads the file, `run` tries webhooks and answers on it, `sign` makes a valid request; the result is data
(`app.dev.trial.report`). What is tried is the code that serves: verification and parsing of `app.web`, commands of
`app.core`, flows of the handler.
"""
