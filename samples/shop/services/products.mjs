// The shop's shelf.
export const products = [
  { sku: "mug", name: "Enamel mug", icon: "☕", price: 14 },
  { sku: "lamp", name: "Desk lamp", icon: "💡", price: 49 },
  { sku: "pen", name: "Fountain pen", icon: "🖋️", price: 32 },
  { sku: "book", name: "Field notes", icon: "📓", price: 12 },
  { sku: "bag", name: "Canvas bag", icon: "🎒", price: 58 },
  { sku: "plant", name: "Jade plant", icon: "🪴", price: 24 },
];
