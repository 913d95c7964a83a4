/* The functions that every peer calls: compiled once for all of them, so that only the way to the call differs. */
#ifndef FUNCTIONS_H
#define FUNCTIONS_H

#ifdef __cplusplus
extern "C" {
#endif

int add(int a, int b);
double total(double *values, long count);
double first(const double *values);

#ifdef __cplusplus
}
#endif

#endif
