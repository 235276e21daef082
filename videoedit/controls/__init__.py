"""ControlNets: the maps they follow, their residuals, and what finds both."""
