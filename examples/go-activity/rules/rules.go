// Package rules holds a shop's promotion.  The takings are its state: they go from version to version.
package rules

import (
	"errors"
	"sync"
)

// Line is a position of an order.
type Line struct {
	Name  string
	Cents int
	Count int
}

// Order is what a customer wants.
type Order struct {
	Customer string
	Lines    []Line
}

// Receipt says what an order costs.
type Receipt struct {
	Total    int
	Discount int
	Rule     string
}

// errEmpty is returned for an order without lines.
var errEmpty = errors.New("the order is empty")

type book struct {
	mutex  sync.Mutex
	orders int
	cents  int
}

//midflight:state
var takings book

// Price prices an order and books it.
func Price(order Order) (Receipt, error) {
	if len(order.Lines) == 0 {
		return Receipt{}, errEmpty
	}
	total := 0
	for _, line := range order.Lines {
		total += line.Cents * line.Count
	}
	discount, rule := promotion(order, total)
	takings.mutex.Lock()
	defer takings.mutex.Unlock()
	takings.orders++
	takings.cents += total - discount
	return Receipt{total - discount, discount, rule}, nil
}

// Takings returns the number of orders and the cents taken.
func Takings() (orders, cents int) {
	takings.mutex.Lock()
	defer takings.mutex.Unlock()
	return takings.orders, takings.cents
}
