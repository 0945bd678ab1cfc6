"""What is deployed where: reads settings, connects resources, exports outputs."""
