/* Variables with a value, without one, and in a page that nobody touches. */
int set = 5;
int unset;
char large[1 << 20];
static int made;
__attribute__((constructor)) static void make(void) { made = 7; }
int *where(int which) { int *all[] = {&set, &unset, (int *)large, &made}; return all[which]; }
