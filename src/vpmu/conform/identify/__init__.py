"""Which implementation answers: what tells behaviours apart, and the profile that fits the answers.

`probes` says which sequence shows a behaviour, `fit` finds the behaviours that explain a target's answers,
`releases` the releases that have them, `found` says it as text and as an object.
"""
