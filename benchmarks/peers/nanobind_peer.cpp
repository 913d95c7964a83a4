#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include "functions.h"

namespace nb = nanobind;

using vector = nb::ndarray<double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

NB_MODULE(nanobind_peer, module)
{
    module.def("add", &add);
    module.def("add_released", &add, nb::call_guard<nb::gil_scoped_release>());
    module.def("total", [](vector values, long count) { return total(values.data(), count); });
}
