"""The work behind SageMaker's API: containers that train and serve, under SageMaker's container contract."""
