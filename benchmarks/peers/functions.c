#include "functions.h"

int
add(int a, int b)
{
    return a + b;
}

double
total(double *values, long count)
{
    double sum = 0;
    for (long i = 0; i < count; i++) {
        sum += values[i];
    }
    return sum;
}

/* Looks at one item: what a call costs is bringing the array over. */
double
first(const double *values)
{
    return values[0];
}
