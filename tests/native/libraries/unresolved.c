int nobody_has_this(void);
int answer(void) { return nobody_has_this(); }
