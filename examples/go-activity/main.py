"""Changes a shop's promotion while orders come in; no order is lost, and none is priced by half of a rule."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
from pathlib import Path

import midflight

HERE = Path(__file__).parent
ORDER = {"Customer": "Ada", "Lines": [{"Name": "ball", "Cents": 3000, "Count": 2}]}
PRICES = {"none": 6000, "summer": 5400}


class Customers(threading.Thread):
    """Orders without pause, and keeps the receipts."""

    def __init__(self, rules: object) -> None:
        super().__init__()
        self.rules = rules
        self.closed = threading.Event()
        self.seen = {rule: threading.Event() for rule in PRICES}
        self.orders = self.cents = 0
        self.wrong: list[object] = []

    def run(self) -> None:
        """Order until the shop closes."""
        while not self.closed.is_set():
            receipt = self.rules.Price(ORDER)  # type: ignore[attr-defined]
            if receipt.Total != PRICES[receipt.Rule]:
                self.wrong.append(receipt)
            self.orders += 1
            self.cents += receipt.Total
            self.seen[receipt.Rule].set()


def main() -> int:
    """Run the shop; return the exit code."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(shutil.copytree(HERE / "rules", Path(directory) / "rules"))
        rules = midflight.load(source)
        customers = Customers(rules)
        customers.start()
        customers.seen["none"].wait()

        shutil.copy(HERE / "summer.go.txt", source / "promotion.go")
        print(midflight.swap(rules))
        customers.seen["summer"].wait()

        customers.closed.set()
        customers.join()
        orders, cents = rules.Takings()
        print(f"{orders} orders, {cents / 100:.2f} taken; the customers have {customers.orders} receipts")
        midflight.unload(rules)
        return int(bool(customers.wrong) or (orders, cents) != (customers.orders, customers.cents))


if __name__ == "__main__":
    sys.exit(main())
