#include <pybind11/pybind11.h>

#include "functions.h"

namespace py = pybind11;

PYBIND11_MODULE(pybind11_peer, module)
{
    module.def("add", &add);
    module.def("add_released", &add, py::call_guard<py::gil_scoped_release>());
}
