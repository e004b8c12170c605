"""The provider's programs: planner, job service and command line."""
