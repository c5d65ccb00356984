//! Custom resource types of the mail relay operator: the API and its manual.
