-- Run once by the PostgreSQL container, in an empty cluster: the databases beside `bkt`.
CREATE DATABASE mlflow;
CREATE DATABASE prefect;
