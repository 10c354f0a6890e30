"""Buildings to map: worlds, a lidar, ways through them, and logs of real robots."""

from .floor_plan import floor_plan
from .ground import Ground, ground_of_scans, ground_of_world
from .lidar import Lidar
from .logs import Log, divide, held_out, read_log
from .plans import from_image, from_ros
from .scans import Points, Scans, joined
from .trajectories import check_free, check_way, load_waypoints, planned, smooth, through
from .world import World

__all__ = [
    "Ground", "Lidar", "Log", "Points", "Scans", "World", "check_free", "check_way", "divide",
    "floor_plan", "from_image", "from_ros", "ground_of_scans", "ground_of_world", "held_out",
    "joined", "load_waypoints", "planned", "read_log", "smooth", "through",
]  # fmt: skip
