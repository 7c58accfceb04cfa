"""The ground floor beside `spec`: which implementations there are and how each behaves, as data.

`behaviours` and `opensbi_behaviours` say in what they differ from the specification, `releases` in which
releases, `profiles` puts them together by name, `toml_file` reads and writes a profile of one's own.
"""
