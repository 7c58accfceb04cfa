"""The ground floor beside `spec`: typed records of what every layer did, and views of them."""
